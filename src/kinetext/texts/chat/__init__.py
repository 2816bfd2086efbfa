"""What the provider chat_api is made of: the server (client), money and pace (limits), half price in a day (batch)."""
