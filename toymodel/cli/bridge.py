"""Commands of the bridge to language models; torch is loaded when one of them runs."""

from cyclopts import App

from toymodel.cli import experiment

llm = App(name="llm", help="Language models: train on preference pairs at any scale.")
llm.command(experiment.train)
