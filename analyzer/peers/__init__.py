"""What other tools say of the same packets, in their own words."""
