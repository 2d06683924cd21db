"""Model adapters: one file per model or model family. They import the harness's contract only.

Models in this process:
    maira2, llava_rad, cxr_llava, maira1   ports of published models, without their packages
    huggingface                            any chat model with images that transformers knows
    openai_chat                            a chat model behind an OpenAI-compatible endpoint
Models in an environment of their own (their workers lie in workers/):
    chexagent2, cxrmate, libra, llava_med, r2gen, radialog
Models without weights:
    baselines          floors and ceilings, such as a random train report
    pixel_retrieval    the train report of the most similar image
    replay             saved predictions of any system

Files that begin with `_` are parts of one adapter: _maira1, _maira2_answer, _maira2_network,
_maira2_prompt, _llava_rad, _timm_names and _lora (LLaVA-Rad), _clip_vit (CXR-LLaVA), _chat_models
(huggingface). _shared holds what several adapters use.
"""
