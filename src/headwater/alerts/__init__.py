"""From reports to incidents: one row at the origin, none at its heirs."""
