"""What a task is, and how tasks are drawn and scored in each setting."""
