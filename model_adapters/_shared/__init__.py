"""Code that several adapters share. "(torch)" marks modules that import torch.

chat_prompt           builds a chat turn from templates such as "Indication: {indication}"
parse_answer          turns a chat model's answer into a report
local_weights         which packages and weights are on this machine
preflight             whether files, device and GPU memory suffice, before loading
pixels                resize, crop and standardise, as the models' own image processors do
sentencepiece_model   a tokenizer.model read by sentencepiece
llama_tokenizer       LLaMA's tokenizer with the tokens that a checkpoint adds to it
vicuna_prompt         Vicuna's prompt for the findings of one frontal image
frontal_findings      base class of models that read one frontal image and the indication
vision_llama_adapter  base class of ports that put image features into a Llama
vision_llama          a vision encoder and a Llama that generate together (torch)
image_tokens          prompt ids with a place for each image, and the projector (torch)
image_features        keeps image features while later requests need them (torch)
dinov2_encoder        a DINOv2 ViT with a projector (torch)
torch_runtime         device, loading, memory, decoding (torch)
"""
