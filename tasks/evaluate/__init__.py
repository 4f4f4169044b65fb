"""Evaluate: held-out briefs, pictures of every method with the same seeds, scores, tables, report.

In the order of the stage: `held_out` chooses briefs, `prompts` says what each method asks the diffusion model for, `paint`
draws, `score` looks at the pictures, `tabulate` makes estimates of them, `publish` writes the report. Files between the
steps lie in the stage's scratch folder, so an interrupted run goes on where it was.
"""
