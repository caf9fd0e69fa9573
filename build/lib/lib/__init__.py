"""Did this generative model learn, or did it memorise? The measures of four works, and the book made with them."""
