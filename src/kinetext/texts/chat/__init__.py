"""Parts of the provider chat_api: requests (client, negotiation), replies (completion), limits, batches."""
