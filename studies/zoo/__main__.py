"""python -m studies.zoo"""

from studies.zoo.study import main

main()
