"""Content at open time: images, JSON and a page that show the state of now when an email is opened."""
