"""What the project is made of and where it comes from: lock files, licenses, known vulnerabilities, the bill of materials."""
