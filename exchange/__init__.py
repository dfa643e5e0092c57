"""LN Markets in the words of the domain; knows neither Django nor Celery."""
