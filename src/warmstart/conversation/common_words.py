"""Words that people write for other things than a title, in small letters.

Counted in ReDial (CC BY 4.0): words that at least 2 of the 985 dialogues of its validation part, or
at least 40 of the 6,924 plots of its films, have in small letters.
"""

_WORDS = """
a able about absolute absolutely abusive accident accidentally across act action actions actor
actors actress actresses acts actually adam adaptation add added addict adding admit adorable
adult adults adventure adventurous afraid after afternoon again against age agent agents ages
ago agree agreed ah ahh al alien aliens alive all alley almost alone along alot already alright
also although always am amazing amusing an ancient and animals animated animation anime another
any anymore anyone anything appeal appreciate are area aren army around arrival arrives arts as
ask asked asking asleep assuming astronaut asylum at attack attempt attempts attention author
available avoid awards away awesome awful awhile baby back bad band bank based basically batman
battle be bear beat beats beautiful because become becomes becoming bed been before begin
beginning begins behind being believe bell besides best bet better between big biggest bill
binge biography birds birth birthday bit bits bizarre black blew blood bloody blowing body book
books bored boring born boss both bottle bout boxing boy boyfriend boys brad brain brand break
breaking bring bro brother brothers brutal buddy buff building bunch business busy but by bye ca
cabin caliber called came campy can cannot cant caps car care career cars cartoon case cast cat
catch catchy category cats caught causes century certain certainly chance change character
characters chase chat chatting check checking cheesy chick child childhood children childrens
chill choice choices choose christmas cinematography city clasic class classic classics clean
close clowns co code cold collection college color com combination come comedic comedies comedy
comedys comes comic comics coming commits community company comparable compare computer coms con
confusing consider considered conspiracy control conversation cool cop cops corny correct
corrupt could couldn country couple course crack crap crazy created creative creepy crew crime
criminal cross cruise cry cult culture curious current currently cute d dad damn dangerous dark
darker date daughter daughters day days dead deadly deal dealer death decent decide decides deep
def definately definitely delay demand depends depressing depth destroy detective determine
determined dialogue did didn didnt die difference different directed direction director disagree
disappointed disaster discover discovers discussion disney disturbing do doc documentaries
documentary does doesn doesnt dog dogs doing doll dolls don done dont door down drama dramas
dramatic dream dreams drive driver driving drug dude due dumb during dvd dying each earlier
early earth easy eat edge effects either elements eles else embark encounter end ending ends
enemy enjoy enjoyable enjoyed enjoys enough entertaining entire epic era escape especially etc
even evening event events ever every everyone everything evil ex exactly example examples
excellent except excited exciting expectations experience explosions extremely eye fabulous face
fair fairly fall falls familiar families family famous fan fancy fans fantastic fantasy far fast
father fav fave faves favorite favorites favourite favs feel fell felt female ferrel few fi
fiction fight fighting figured filled film filmed films finally find finding finds fine finger
finished first fit fits five flick flicks flying fo focused follow followed follows fond
football for force forced forces foreign forever forget forgot form format former forward found
four franchise free friend friendly friends friendship frightening from front full fun funnier
funny future futuristic g gal game gang gave gene general genius genre genres get gets getting
giant gibson girl girlfriend girlie girls give given gives giving glad go god goes going gold
gone gonna good goodbye goodie goodness goofy google goood gore gorry gory got gotcha gotta
gotten government graphics great greatest grid gritty gross group growing grown guess guilty
guts guy guys ha had hadn haha hahah hahaha halloween hanks happen happened happens happy hard
harder hart has hasnt hat hate hated haunted have haven havent having he head hear heard hearing
heart hearted heartfelt heartwarming hell helllo hello help helped helpful helping helps her
here hero heroes heros herself hes hey hi high highly hilarious hillarious him himself hired his
historical history hit hmm hmmm hold holds holiday home honest honestly hope hopefully hoping
horror horrors horse hot hotel hours house how howdy however hows huge huh human humor hunt
husband hype i iconic id idea ideal ideas if ill im important impossible impressed in indeed
indie inspired instant intense intensity interest interested interesting into intriguing
investigate is island isn it its itself ive jack jerker job joe join joins jokes journey jump
just kate keen keep kept kevin kid kidnapped kids kill killed killer killing kind kinda kinds
king kiss knew know knowing knowledge known l ladies lambs lame land last late lately later
latest latter laugh laughing laughs laughter law lawyer lead leader leads learn learns learnt
least leave leaves left legendary less let lets lie life light like liked likes liking line
lines list listed literally little live lives living lmao local locked lol long look looked
looking looks lost lot lots loud love loved lover loves luck m made magical main make makes
making malware man many marathon marriage married martial marvel matter may maybe me mean
meaning meant mebbe media medieval mediocre meet meets meh meme men mention mentioned mermaid
merry met mid middle might military min mind minds mine minute minutes missed missing mission
mix mixed mmm mob modern mom moment moments money monster month mood more morning most mostly
mother move moves movie movies moving movis much murder murdered murray music musical musicals
must my myself mysteries mysterious mystery name named names neat necessarily need neither nerd
netflix never new newer newest news next nice nicholson niece night no nobody none normally not
notebook nothing noticed novel now nuclear number obviously odd of off offer officer officers oh
ohh ok okay old older oldie olds omg on once one ones only oo ooh oops open opening operate
opinion option options or order original originals other others our out outside over overlooked
ovie own owner packed panned parady paranormal parents parody part particular particularly
partner parts party pass passed past pay people perfect perhaps period person personal
personally pg phenomenal pick picks picky pilot pitt pixar place plan planet plans play played
plays please pleasure plenty plot point police political politics popular possible post power
powerful powers prefer preferably preference preferences present pretty previews prison probably
problem program protect provoking psychological pulled pure push put putting quality que queen
quest question queue quick quirky quite r race racing radar range rated rather ratings raunchy
re read ready real realistic reality realize really reason recall reccomend recent recently reco
recomend recomendation recomendations recomended recommend recommendation recommendations
recommended recommender recommending references refused related relationship relaxing release
released remake remakes remember reminded reminding reminds remote rescue rest retired return
returns revenge reviews rewatch rewatched rich ride right risque road robin robots rock rogen
role roles rom romance romances romantic romatic ruined run s sad sadly safe said same sandler
sappy save saw say saying says scare scared scares scarier scary scene scenes school sci science
scientist scifi screen script search searching seat sec second seconds secret see seeing seeking
seeks seem seems seen self sense sent separate sequel sequels serial series serious service set
seth sets several sex sexy shape sharing she ships shocking shooting short shot should show
shows shut sick side silence silent silly similar similiar since sing singer singing single
sister situation slap slapstick slightly slow small smart smith snow snowy so society sold
soldier solid some someone something sometimes somewhere son song songs soon soooo sorry sort
sorts sound sounds soundtrack space speak special specific spectacular spiderman spoil spoof
spooky sports spy stage stand star starring stars start started starting starts stay stephen
stick still stood stop stories story storyline strange stream streaming street strong struggle
struggles stuck student students stuff stunts stupid style styles submit subtitles successful
such suggest suggested suggestion suggestions summer super superbad superhero superheros suppose
supposed sure surprised surprisingly survive suspence suspense suspenseful sweet t take taken
takes taking tale talk talking taste tastes teacher team teams tear tears teen teenage teenager
tell tells ten tend terms terrible terrified terrify terrifying than thank thanks that thats the
theater theaters theatre theatres their them theme themes themselves then there theres these
they thing things think thinking third this tho those though thought thoughtful thoughts three
thrill thriller thrillers thrilling through till time times timing tired tissues title titles to
today toes together told tom tomorrow tonight tons too top totally tough town track trailer
train trapped travel travels treat tried tries trilogies trilogy trip trippy troubled true truly
truth try trying turn turned turns tv twice twin twist twisted twists two type typed types u umm
under undercover underdog underrated understand understandable unethical unique universe
unlikely until up upon ups us use used uses using usual usually vampire variety vein version
very video village violence violent virus visuals voice vs wait waiting wan wanna want wanted
wanting wants war wars was wasn wasnt watch watched watching wated way ways we wealthy wedding
week weekend weeks weird welcome well went were weren westerns what whatever whats when where
which while white who whole whoops whose why wife will williams willing win wind wine winner
winning wise wish with witherspoon without woman women won wonder wondered wonderful wondering
wont woods work working works world worries worse worst worth worthy would wouldn wouldnt wow
write writer written wrong ya yea yeah year years yep yes yess yesss yesterday yet yo you young
younger your youre yours yourself yu yup zombie zombies
"""

COMMON_WORDS = frozenset(_WORDS.split())
