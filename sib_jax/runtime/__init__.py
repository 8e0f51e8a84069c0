"""What the machine needs: devices, checkpoints, interrupts, traces, weights, memory."""
