"""What vendors are: a wire format with a vendor's facts. Pure; a provider knows no other provider."""
