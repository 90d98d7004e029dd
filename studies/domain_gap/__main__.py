"""python -m studies.domain_gap"""

from studies.domain_gap.study import main

main()
