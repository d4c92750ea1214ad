"""Export networks and properties in the formats of other verifiers: ONNX and VNN-LIB."""
