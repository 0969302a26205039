"""Suites of questions from the folders that data sets are published as."""
