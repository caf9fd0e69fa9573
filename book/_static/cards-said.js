window.cards = {}; // written by lib/study/cards.py where a book is made
