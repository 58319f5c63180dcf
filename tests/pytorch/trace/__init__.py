"""Tests of modules that become graphs."""
