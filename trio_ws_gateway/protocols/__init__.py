"""Who is speaking? One adapter a protocol; each says what its first words carry and how it is refused."""
