"""Email service providers, one file each, behind one protocol."""
