"""Networks and what is to be proved of them in the formats of other verifiers: ONNX and VNN-LIB."""
