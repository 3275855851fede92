# `openai-<app>`: the OpenAI API in front of a Triton that serves the same engine.
{ mkServer }:
{
  name,
  engine,
  model,
}:
mkServer {
  inherit name;
  description = "OpenAI API for ${model.title}";
  arguments = [
    "openai"
    "${engine}"
  ];
}
