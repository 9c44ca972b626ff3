"""What other libraries' calls can be read for: functions to name in ``confidence=``, ``quality=``, ``model=`` and ``steps=``, nothing else.

None of them imports its library: a result says enough, and a program that does not use the library pays nothing.
"""
