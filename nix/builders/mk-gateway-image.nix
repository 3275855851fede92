# `image-gateway`: the OpenAI API in front of any engine, which is mounted at /engine.
{ mkImage }:
mkImage {
  name = "gateway";
  description = "OpenAI API in front of Triton";
  command = [
    "openai"
    "--host=0.0.0.0"
  ];
  arguments = [ "/engine" ];
  ports = [ 9000 ];
  health = "http://127.0.0.1:9000/livez";
}
