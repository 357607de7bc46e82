"""The pages of the zoo, one for each member, written from the values when the documentation is built."""
