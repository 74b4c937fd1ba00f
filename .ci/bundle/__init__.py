"""``make bundle``: bodvcl and every dependency in one folder, for machines without a network."""
