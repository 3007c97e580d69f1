"""What goes wrong between two machines, in words: once for whoever asks, be it the operator or a client."""
