"""Doctor: looks at the hub and the member accounts and says of each fault what it is, where, and what to do."""
