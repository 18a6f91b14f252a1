"""Write the vectors of users and items for the search that is already in production."""
