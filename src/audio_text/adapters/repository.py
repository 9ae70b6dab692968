"""The table of jobs, their segments and attempts in PostgreSQL. The modules that it is made of hold all SQL.

Every method is one statement, and therefore one transaction.
"""

from audio_text.adapters.job_backlog import PiccoloJobBacklog
from audio_text.adapters.job_claims import PiccoloJobClaims
from audio_text.adapters.job_search import PiccoloJobSearch
from audio_text.adapters.job_submission import PiccoloJobSubmission
from audio_text.adapters.job_table import PiccoloJobTable
from audio_text.adapters.job_upkeep import PiccoloJobUpkeep
from audio_text.adapters.key_usage import PiccoloKeyUsages


class PiccoloJobRepository(
    PiccoloJobSubmission,
    PiccoloJobTable,
    PiccoloJobSearch,
    PiccoloJobClaims,
    PiccoloJobBacklog,
    PiccoloJobUpkeep,
    PiccoloKeyUsages,
):
    """The port `JobRepository` over a Piccolo engine."""
