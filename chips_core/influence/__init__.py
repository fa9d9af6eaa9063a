"""The maths: tensors in, tensors out."""
