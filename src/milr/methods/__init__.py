"""Methods: async generators about one prompt that yield a Step for each picture and contain no budget."""
