"""How fast and how small Windlass is, beside LangGraph and a bare journal in the same run.

python -m benchmarks                    every row, at full size; writes the table in docs/performance.md anew
python -m benchmarks --quick            the same with small sizes: a try, no figures
python -m benchmarks --only loop        one row
python -m benchmarks policies           what every policy costs that is declared and does not fire
python -m benchmarks.hot ours.loop '{"url": "memory:", "steps": 20000}'     where the time goes

what is measured   rows/      who is measured   ours  peer  journal
how                stage  play  sizes           what comes of it   figure  machine  page
"""
