"""The parts of the provider chat_api: `client` and `negotiation` send requests, `completion` reads replies, `limits`
caps the cost, `batch` uses the Batch API, `probe` tests a server, and `options` declares the options.
"""
