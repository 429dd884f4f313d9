"""A self-hosted SmartTrade server."""
