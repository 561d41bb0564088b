"""Commands of the bridge to language models; torch is loaded when one of them runs."""

from cyclopts import App

from toymodel.cli import experiment, miniature, scoring

llm = App(
    name="llm", help="Language models: score preference pairs, train on them, repeat the paper."
)
llm.command(scoring.score)
llm.command(experiment.train)
llm.command(miniature.miniature)
