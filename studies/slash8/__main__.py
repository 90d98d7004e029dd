"""python -m studies.slash8"""

from studies.slash8.study import main

main()
