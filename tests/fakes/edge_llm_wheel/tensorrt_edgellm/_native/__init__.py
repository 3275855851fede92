class NativeRuntimeError(RuntimeError):
    """Of every refusal of a machine."""
