"""headwater"""
