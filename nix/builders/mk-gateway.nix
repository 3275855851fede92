# `openai-<app>`: the OpenAI API in front of a Triton that serves the same engine.
{ mkServer }:
{ name, engine }:
mkServer {
  inherit name;
  description = "OpenAI API for ${engine.model.title}";
  arguments = [
    "openai"
    "${engine}"
  ];
  uses = [ engine ];
}
