"""What flows between the rooms: columns, their invariants, and the ports. numpy only."""
