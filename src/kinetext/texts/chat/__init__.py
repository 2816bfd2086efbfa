"""Parts of the provider chat_api: server (client), replies (completion), cost and rate (limits), batches (batch)."""
