"""The stages, once, in the order in which the data passes them; in brackets the module that has them.

    repos -> scan -> analyze [analyzing] -> plan [planning] -> build [building] -> verify [proving] -> push [publishing]
    nothing but the shipped stacks -> analyze_stacks [stacks] -> plan -> build
    what was pushed, over the years -> prune [pruning]: what nothing leads to any more goes
    repos + what was built last -> rebuild [rebuilding]: all of these where something changed, else nothing
    repos + their analysis -> meet_baseline [meeting]: what they would compile if they agreed, for plan
    a consumer's repo + a plan, directory or image -> check [forecasting]
    a consumer's repo + a plan -> align [forecasting]
    a consumer's repo -> init, second_builds [projects]: its Dockerfile, and what builds by it take

Every stage is one function from frozen values to a frozen value; between them stand `analysis.json` and `plan.json`,
from which each can be restarted.

Nothing is imported here: a command starts faster where only its own stages are.
"""
