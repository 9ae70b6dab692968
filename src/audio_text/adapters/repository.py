"""The table of jobs, their segments and attempts in PostgreSQL. The modules that it is made of hold all SQL.

Every method is one statement, and therefore one transaction.
"""

from audio_text.adapters.job_backlog import JobBacklog
from audio_text.adapters.job_claims import JobClaims
from audio_text.adapters.job_keys import JobKeys
from audio_text.adapters.job_search import JobSearch
from audio_text.adapters.job_table import JobTable
from audio_text.adapters.job_upkeep import JobUpkeep
from audio_text.adapters.key_usage import KeyUsages


class PiccoloJobRepository(JobKeys, JobTable, JobSearch, JobClaims, JobBacklog, JobUpkeep, KeyUsages):
    """The port `JobRepository` over a Piccolo engine."""
