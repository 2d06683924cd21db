"""Code that several adapters share. A module that imports torch says so.

chat_prompt.py         builds a chat turn from templates such as "Indication: {indication}"
parse_answer.py        turns a chat model's answer into a report
local_weights.py       which packages and weights are on this machine
preflight.py           whether files, device and GPU memory suffice, before loading
pixels.py              resize, crop and standardise, as the models' own image processors do
sentencepiece_model.py a tokenizer.model read by sentencepiece
llama_tokenizer.py     LLaMA's tokenizer with the tokens that a checkpoint adds to it
vicuna_prompt.py       Vicuna's prompt for the findings of one frontal image
frontal_findings.py    base class of models that read one frontal image and the indication
vision_llama_adapter.py  base class of ports that put image features into a Llama
vision_llama.py        a vision encoder and a Llama that generate together (torch)
image_tokens.py        prompt ids with a place for each image, and the projector (torch)
image_features.py      keeps image features while later requests need them (torch)
dinov2_encoder.py      a DINOv2 ViT with a projector (torch)
torch_runtime.py       device, loading, memory, decoding (torch)
"""
