"""What is known of models: the catalogue, price lists, and what their answers taught."""
