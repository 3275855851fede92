"""Commands: `python -m tensorrt_llm.commands.build`."""
