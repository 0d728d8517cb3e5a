"""Who may call the gateway, how they are told apart, and how much of it one of them may use."""
