"""Parts of the provider chat_api: requests (client, negotiation), replies (completion), cost and rate (limits), batches."""
