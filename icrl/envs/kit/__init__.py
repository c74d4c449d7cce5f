"""What task families are built from: the batched contract, the door for gymnasium environments, drawing, checks."""
