"""How kinetext asks a language model: `model` sends requests within limits, for the text provider chat_api and the method
video_llm. `client` and `negotiation` send one request, `completion` reads replies, `limits` caps the cost, `batch` uses
the Batch API, `probe` tests a server, and `options` declares the options.
"""
