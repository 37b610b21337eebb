"""What an update will gain, said before it is made: to decline it, and to choose what to practise on."""
